"""Paths of object stores: universal-pathlib's, over the obstore client (Rust's object_store). The extra `s3`.

Credentials and endpoint come from the environment of the process (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL, ...) or the role of the machine, in whichever process a path is used: a path that is pickled or
printed holds none of them.
"""

import atexit
import io
import time
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any

from obstore.exceptions import BaseError
from obstore.fsspec import FsspecStore
from upath.implementations.cloud import CloudPath
from upath.registry import register_implementation

from storage.paths import SCHEMES


def _raising_os_errors(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def called(*arguments: Any, **settings: Any) -> Any:
        try:
            return await method(*arguments, **settings)
        except BaseError as error:
            raise OSError(str(error).partition("\n\nDebug source")[0]) from error

    return called


class _NewObject(io.BytesIO):
    """Becomes an object, in one PUT, when it is closed; none where the block that writes it ends with an error."""

    def __init__(self, put: Callable[[bytes], object]) -> None:
        super().__init__()
        self._put = put

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        if kind is not None:
            super().close()
        super().__exit__(kind, *rest)

    def close(self) -> None:
        if not self.closed:
            content = self.getvalue()
            super().close()
            self._put(content)


class ObjectStore(FsspecStore):
    """Fails as a file system does, with an OSError, and reads and writes an object as a whole."""

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> Any:
        return io.BytesIO(self.cat_file(path)) if mode == "rb" else _NewObject(partial(self.pipe_file, path))


for _name in ("_rm_file", "_cp_file", "_pipe_file", "_cat_file", "_put_file", "_info", "_ls"):
    setattr(ObjectStore, _name, _raising_os_errors(getattr(FsspecStore, _name)))


def _store(protocol: str, **options: Any) -> ObjectStore:
    make: Any = ObjectStore
    store: ObjectStore = make(protocol, client_options={"allow_http": True}, **options)
    return store


class ObjectPath(CloudPath):
    """A place in an object store."""

    __slots__ = ()

    @classmethod
    def _fs_factory(cls, urlpath: str, protocol: str, storage_options: Any) -> ObjectStore:
        return _store(protocol, **storage_options)

    def look(self) -> None:
        """Raises OSError where the store does not answer at once or has no such bucket; the file need not be there."""
        _store(self.protocol, retry_config={"max_retries": 1}).exists(self.path)


# The client's threads hold Python objects for a moment after an answer: an interpreter that ends meanwhile is aborted.
atexit.register(time.sleep, 0.1)
for _scheme in SCHEMES:
    register_implementation(_scheme, ObjectPath, clobber=True)
