"""What went wrong in a worker, and whose fault it is: a member's, or that of a machine that was lost."""

import faulthandler
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch
import torch.distributed as dist

from storage import is_local
from trainables.specs import Member


class MemberError(RuntimeError):
    """A Python exception in the work of one member. `run_id` says which; the message is the traceback."""

    def __init__(self, run_id: str, message: str) -> None:
        super().__init__(run_id, message)
        self.run_id, self.message = run_id, message

    def __str__(self) -> str:
        return self.message


class DoesNotFitError(RuntimeError):
    """A pack ran out of memory in a group of ranks; the size that may fit is noted, and the group must begin again."""


@contextmanager
def blamed_on(member: Member) -> Iterator[None]:
    """Whatever the block raises becomes a MemberError, except what no member is to blame for: memory and machines."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if needs_new_group(error):
            raise
        raise MemberError(member.run_id, traceback.format_exc()) from error


@contextmanager
def crashes_told(folder: Path, rank: int) -> Iterator[None]:
    """A signal that ends the process in the block (a segmentation fault, say) is named in <folder>/crash-<rank>.txt.

    SIGKILL cannot be. In an object store, or where the file cannot be written, nothing is told.
    """
    with ExitStack() as opened:
        with suppress(OSError):
            if is_local(folder):
                folder.mkdir(parents=True, exist_ok=True)
                was_enabled = faulthandler.is_enabled()
                faulthandler.enable(opened.enter_context((folder / f"crash-{rank}.txt").open("w")), all_threads=False)
                opened.callback(faulthandler.enable if was_enabled else faulthandler.disable)
        yield


def needs_new_group(error: BaseException) -> bool:
    """Whether a group of ranks only has to begin again: a pack was too large, or another rank is gone (and tells why).

    gloo says by a plain RuntimeError that a peer is gone.
    """
    return isinstance(error, DoesNotFitError | dist.DistError) or "third_party/gloo/" in str(error)
