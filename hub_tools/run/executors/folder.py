"""A folder that every task of a job can reach, at any address that fsspec knows."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from hub_tools.errors import RecipeError

JOURNALS = "journals"  # they outlive the jobs that filled them


class Folder:
    """Files by name below one address; those of a file system are used in place (`local` is its path), others
    are fetched and sent whole.
    """

    def __init__(self, address: str) -> None:
        import fsspec  # type: ignore[import-untyped]
        from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

        try:
            self._files, self._root = fsspec.url_to_fs(address)
        except (ValueError, ImportError) as error:
            raise RecipeError(
                f"{address!r} is no folder that tasks can share: {error}; give a path, or an address such as "
                f"hf://buckets/NAMESPACE/BUCKET/FOLDER"
            ) from error
        self.local = Path(self._root) if isinstance(self._files, LocalFileSystem) else None
        self.address: str = str(self.local) if self.local else address.rstrip("/")

    def below(self, name: str) -> Folder:
        """Return a folder inside this one."""
        return Folder(f"{self.address}/{name}")

    def above(self) -> Folder:
        """Return the folder that this one lies in."""
        return Folder(self.address.rpartition("/")[0])

    def read(self, name: str) -> bytes | None:
        """Return what a file holds, or None where there is none."""
        if not self.local:
            self._files.invalidate_cache()
        try:
            return bytes(self._files.cat_file(self._path(name)))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole: who reads it meanwhile sees the old one or the new one."""
        if not self.local:
            self._files.pipe_file(self._path(name), content)
            return
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(content)
        part.replace(path)

    def names(self, name: str) -> set[str]:
        """Return the names of what lies in a folder inside this one."""
        if not self.local:
            self._files.invalidate_cache()
        try:
            found: list[Any] = self._files.ls(self._path(name), detail=False)
        except FileNotFoundError:
            return set()
        return {str(path).rstrip("/").rpartition("/")[2] for path in found}

    def place(self, name: str, scratch: Path) -> Path:
        """Return where to make a file or folder `name`: in place, or in `scratch` until it is sent."""
        return (self.local or scratch) / name

    def fetch(self, name: str, scratch: Path) -> Path:
        """Return a file's local path; what lies elsewhere is copied to `scratch`."""
        path = self.place(name, scratch)
        if not self.local:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files.get_file(self._path(name), str(path))
        return path

    def send(self, path: Path, name: str) -> None:
        """Bring a file that was made at `place` to where all can see it."""
        if not self.local:
            self._files.put_file(str(path), self._path(name))

    def remove(self, name: str) -> None:
        """Delete a file or folder, if it is there."""
        if self.local and (self.local / name).is_dir():
            shutil.rmtree(self.local / name)
            return
        try:
            self._files.rm(self._path(name), recursive=True)
        except FileNotFoundError:
            return

    def clean(self) -> None:
        """Delete everything but the journals."""
        for name in self.names("") - {JOURNALS}:
            self.remove(name)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)
