"""Where a study lies: a local folder, or a prefix of an object store (s3://bucket/prefix).

Every place is a `Path` to the rest of the program: pathlib's own, or universal-pathlib's, which reads, lists and joins
alike. What differs is here and nowhere else: how something comes to be whole or not at all, moves, goes away, and is
had on the local disk for libraries that read files there. An object store has no folders and no rename, but a PUT is
whole or not at all; so a folder is there when its marker is, the file that is uploaded last.

Imports neither of the other packages; they all may import this one.
"""

from storage.atomic import new_file, new_folder, remove_temporaries
from storage.changes import create, free_bytes, full_disk, made_folders, move, overwrite, remove_folder, set_aside
from storage.copies import cached, filled_folder, local_copy, locked, made_once, own_folder, source
from storage.location import location
from storage.makers import one_maker
from storage.paths import filesystem, is_local, is_there, name_in_store, whole_folders
from storage.seals import SEAL, check_files, digests, file_digest, read_sealed, seal, sealed

__all__ = [
    "SEAL",
    "cached",
    "check_files",
    "create",
    "digests",
    "file_digest",
    "filesystem",
    "filled_folder",
    "free_bytes",
    "full_disk",
    "is_local",
    "is_there",
    "local_copy",
    "location",
    "locked",
    "made_folders",
    "made_once",
    "move",
    "name_in_store",
    "new_file",
    "new_folder",
    "one_maker",
    "overwrite",
    "own_folder",
    "read_sealed",
    "remove_folder",
    "remove_temporaries",
    "seal",
    "sealed",
    "set_aside",
    "source",
    "whole_folders",
]
