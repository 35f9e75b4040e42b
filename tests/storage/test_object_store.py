"""What is particular to object stores: halves, secrets, and places that cannot be reached."""

import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
from s3_server import SECRET_KEY

from storage import filesystem, is_there, location, new_folder, set_aside, whole_folders


def test_half_an_upload_is_not_there(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = location("study_dir", f"{bucket}/half/study")
    store = filesystem(place)
    puts: list[str] = []
    put_file = store.put_file

    def cut_off(local: str, remote: str) -> None:
        puts.append(Path(remote).name)
        if len(puts) > 2:
            raise OSError("the connection is gone")
        put_file(local, remote)

    def write() -> None:
        with new_folder(place / "model", "a-marker") as folder:
            for name in ("a-marker", "b", "c"):
                (folder / name).write_text(name)

    monkeypatch.setattr(store, "put_file", cut_off)
    with pytest.raises(OSError, match="is gone"):
        write()
    assert puts == ["b", "c", "a-marker"]  # at last, whatever its name
    assert not is_there(place / "model", "a-marker")
    assert whole_folders(place, "a-marker") == []


def test_a_path_holds_no_secret(bucket: str) -> None:
    place = location("study_dir", f"{bucket}/some/study")
    assert place.glob("*") is not None
    for found in (pickle.dumps(place), pickle.dumps(filesystem(place)), repr(place).encode(), str(place).encode()):
        assert SECRET_KEY.encode() not in found


def test_what_is_damaged_is_set_aside(bucket: str, capfd: pytest.CaptureFixture[str]) -> None:
    place = location("study_dir", f"{bucket}/damaged/study")
    for attempt in range(2):
        with new_folder(place / "students" / "one", "marker") as folder:
            (folder / "marker").write_text(str(attempt))
        set_aside(place / "students" / "one", place, "for a reason")
        assert not is_there(place / "students" / "one", "marker")
    assert (place / "damaged" / "students" / "one" / "marker").read_text() == "0"
    assert (place / "damaged" / "students" / "one.1" / "marker").read_text() == "1"
    assert f"moved to {place}/damaged/students/one.1" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://missing/study", "missing must be there"),
        ("s3://bucket", "must be a path or of the form s3://bucket/prefix"),
        ("s3://bucket/", "must be a path or of the form"),
        ("s3://key:secret@bucket/study", r"credentials come from the environment.*s3://...@bucket"),
        ("s3://bucket/study?endpoint_override=x", "must be a path or of the form"),
        ("s3://bucket/../study", "must be a path or of the form"),
        ("nonsense://bucket/study", "must be a path or begin with s3://, gs://, az://"),
    ],
)
def test_a_place_that_cannot_be_is_refused(bucket: str, uri: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        location("study_dir", uri)
    assert "\n" not in str(refused.value)
    assert "secret@" not in str(refused.value)


def test_wrong_credentials_are_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    command = [sys.executable, "-c", f"from storage import location; location('study_dir', '{bucket}/study')"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "ValueError: study_dir=s3://bucket/study cannot be reached" in done.stderr
    assert "403" in done.stderr


@pytest.mark.parametrize("environment", [{"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, {"AWS_ACCESS_KEY_ID": ""}])
def test_who_does_not_answer_is_not_waited_for(
    bucket: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    started = time.monotonic()
    code = f"from storage import location; location('study_dir', '{bucket}/study')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "ValueError: study_dir=s3://bucket/study cannot be reached" in done.stderr
    assert time.monotonic() - started < 30


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "storage.objects", None)
    with pytest.raises(ValueError, match=r"study_dir=s3://bucket/study needs .* pip install '.\[s3\]'"):
        location("study_dir", "s3://bucket/study")
