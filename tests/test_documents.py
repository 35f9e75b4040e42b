"""The documents say what is there: links, modules, paths, config keys, and how long they may be."""

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONF = ROOT / "study" / "conf"
FOLDERS = ("study", "trainables", "analysis", "search_spaces", "storage", "tests", ".ci")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
GROUPS = ("data", "process", "student", "train", "method", "protocol", "evaluation", "cluster")
COMMANDS = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "config")
FREE = ("student.config", "process.config")  # of a class of diffusers, which knows the keys
Key = tuple[str, str]  # command and key
Entry = tuple[frozenset[str], str]  # what may be shown as its default, a comment
HEAD = "| of | key | default | allowed | meaning |"


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Links, modules and paths


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", prose(path.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_relative_link_resolves(document: Path) -> None:
    broken = []
    for link in links(document.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken, f"{ids(document)}: {broken}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_module_that_is_run_exists(document: Path) -> None:
    named = set(
        re.findall(r"python -m ((?:study|analysis|trainables|search_spaces|storage)[\w.]*)", document.read_text())
    )
    missing = [name for name in sorted(named) if importlib.util.find_spec(name) is None]
    assert not missing, f"{ids(document)}: {missing}"


def paths_in(text: str) -> set[str]:
    """What is between back-ticks or indented as code and is a path of one of the repository's folders."""
    starts = "|".join(re.escape(folder) for folder in FOLDERS)
    ends = r"py|md|yaml|yml|json|npz|toml|safetensors|css|js|jinja|png"
    code = "\n".join([*re.findall(r"`([^`]+)`", text), *re.findall(r"^    (.*)$", text, flags=re.MULTILINE)])
    found = re.findall(rf"(?<![\w/.<>$-])((?:{starts})/(?:[\w.{{}},*-]+/)*(?:[\w*-]+\.(?:{ends}))?)(?![\w{{<$])", code)
    return {path for path in found if "{" not in path and "," not in path}


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids)
def test_every_path_in_back_ticks_exists(document: Path) -> None:
    missing = [path for path in sorted(paths_in(document.read_text())) if not list(ROOT.glob(path.rstrip("/")))]
    assert not missing, f"{ids(document)}: {missing}"


def test_paths_and_links_are_found() -> None:
    text = "`study/run.py`, `trainables/pruning/`, `study/none.py x=1`, [a](b.md)\n\n    study/other.py two\n"
    text += "```\n[c](d)\n```\n"
    assert paths_in(text) == {"study/run.py", "trainables/pruning/", "study/none.py", "study/other.py"}
    assert links(text) == ["b.md"]


def test_sources_cite_documents_that_exist() -> None:
    cited = {
        (ids(path), name)
        for folder in ("study", "trainables", "analysis", "search_spaces", "storage")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"(?<![\w/*.-])[\w/]+\.md\b(?!\")", path.read_text())
        if not (ROOT / name).exists()
    }
    assert not cited


# Lengths


def test_the_first_document_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1100


def test_contributing_is_60_to_100_lines() -> None:
    assert 60 <= len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 100


def test_the_citation_is_whole() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(citation)
    assert [reference["identifiers"][0]["value"] for reference in citation["references"]] == ["arXiv:2605.19729"]


# The trip from the command line to a row


def trip() -> list[str]:
    (section,) = re.findall(
        r"## From the command line to a row\n(.*?)\n## ", (ROOT / "study/README.md").read_text(), re.DOTALL
    )
    return re.findall(r"^\| \d+ \| `([\w/]+\.py)` \|", section, flags=re.MULTILINE)


def test_the_trip_has_at_most_18_files_and_each_is_called_by_one_before_it() -> None:
    files = trip()
    assert files[0] == "study/sweep.py"
    assert files[-1] == "analysis/records/rows.py"
    assert len(files) == len(set(files)) <= 18
    for index, file in enumerate(files[1:], start=1):
        module = file.removesuffix(".py").replace("/", ".")
        parent, name = module.rsplit(".", 1)
        callers = [(ROOT / earlier).read_text() for earlier in files[:index]]
        imported = rf"from {re.escape(module)} import|from {re.escape(parent)} import [^\n]*\b{name}\b"
        assert any(re.search(imported, caller) for caller in callers), f"no file before {file} imports it"


# Config keys


def flat(prefix: str, content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        name = f"{prefix}.{key}" if prefix else key
        if key == "defaults":  # Hydra's
            continue
        if isinstance(value, Mapping) and value and name not in FREE:
            yield from flat(name, value)
        else:
            yield name, "a mapping" if name in FREE else value


def shown(value: Any) -> str:
    """A default as the table shows it, e.g. `null`, `[0, 1]`, `must be given`."""
    if value == "???":
        return "must be given"
    if value == "a mapping":
        return value
    dumped = yaml.safe_dump(value, default_flow_style=True, width=10**6).strip()
    return f"`{dumped.removesuffix('...').strip()}`"


def comment_of(path: Path, key: str) -> str:
    """What the YAML says of a key, behind it or in the lines above it."""
    name = re.escape(key.rpartition(".")[2])
    found = re.search(rf"((?:^ *#.*\n)*)^ *{name}:[^#\n]*(#.*)?$", path.read_text(), flags=re.MULTILINE)
    said = (found[2] or found[1]) if found else ""
    return " ".join(line.strip(" #") for line in said.splitlines()).replace("|", "or")


def options(group: str) -> list[Path]:
    """The files of a group, the one that config.yaml chooses first."""
    defaults = yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
    chosen = next(entry[group] for entry in defaults if isinstance(entry, Mapping) and group in entry)
    return sorted((CONF / group).glob("*.yaml"), key=lambda path: (path.stem != chosen, path.stem))


def add_keys(found: dict[Key, Entry], command: str, prefix: str, files: Sequence[Path]) -> None:
    """Adds the keys of the files, of which a sweep takes one, by default the first: its defaults are the defaults."""
    first = set(found)
    for path in files:
        for name, value in flat(prefix, yaml.safe_load(path.read_text())):
            defaults, comment = found.get((command, name), (frozenset(), ""))
            if (command, name) not in first:
                defaults |= {shown(value)}
            found[command, name] = (defaults, comment or comment_of(path, name))
        first = first or set(found)


def config_keys() -> dict[Key, Entry]:
    """By command and key: the defaults that the table may show, and the comment in the YAML."""
    keys: dict[Key, Entry] = {}
    for group in GROUPS:
        of_group: dict[Key, Entry] = {}
        add_keys(of_group, "sweep", group, options(group))
        keys |= of_group
    for command, name in (("sweep", "config"), *((command, command) for command in COMMANDS)):
        add_keys(keys, command, "", [CONF / f"{name}.yaml"])
    return keys


def table() -> dict[Key, str]:
    """By command and key: the default that study/README.md shows."""
    text = (ROOT / "study" / "README.md").read_text()
    assert text.count(HEAD) == 1
    rows = {}
    for line in text.partition(HEAD)[2].strip().splitlines()[1:]:
        if not line.startswith("|"):
            break
        command, keys, default, allowed, meaning = (
            cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]
        )
        assert allowed, f"{keys} says nothing of what is allowed"
        assert meaning, f"{keys} says nothing of what it means"
        for key in re.findall(r"`([^`]+)`", keys):
            assert (command, key) not in rows, f"{command} {key} is there twice"
            rows[command, key] = default
    return rows


def test_every_config_key_is_in_the_table() -> None:
    wanted, there = config_keys(), table()
    missing = [
        f"| {command} | `{key}` | {' or '.join(sorted(defaults))} | ? | {comment or '?'} |"
        for (command, key), (defaults, comment) in wanted.items()
        if (command, key) not in there
    ]
    superfluous = [f"| {command} | `{key}` | ..." for command, key in there if (command, key) not in wanted]
    lines = ["rows that study/README.md lacks:", *missing, "rows of no key:", *superfluous]
    assert not missing + superfluous, "\n".join(lines)


def test_the_table_shows_the_defaults() -> None:
    wanted, there = config_keys(), table()
    defaults = {key: " or ".join(sorted(shown)) for key, (shown, _) in wanted.items()}
    wrong = [
        f"| {command} | `{key}` | {defaults[command, key]} | ... (the table says {default})"
        for (command, key), default in there.items()
        if default != defaults.get((command, key), default)
    ]
    assert not wrong, "\n".join(["rows with another default:", *wrong])


# What can be chosen


def first_column(section: str) -> set[str]:
    """What is in back-ticks in the first column of the table under a heading of trainables/README.md."""
    text = (ROOT / "trainables" / "README.md").read_text()
    body = text.partition(f"\n{section}\n")[2].partition("\n#")[0]
    return set(re.findall(r"^\| `(\w+)`", body, flags=re.MULTILINE))


def test_the_tables_name_what_there_is() -> None:
    from trainables.data import SOURCES
    from trainables.families import FAMILIES
    from trainables.losses.features import FEATURE_LOSSES
    from trainables.losses.methods import METHODS

    assert first_column("## Methods") == set(METHODS)
    assert first_column("## Families") == set(FAMILIES)
    assert first_column("## Data") == set(SOURCES)
    assert first_column("### Feature losses") == set(FEATURE_LOSSES)
    first = (ROOT / "README.md").read_text()
    assert all(f"`{name}`" in first for name in METHODS)
    experiments = {path.stem for path in (CONF / "experiment").glob("*.yaml")}
    assert all(f"`{name}`" in first for name in experiments)
