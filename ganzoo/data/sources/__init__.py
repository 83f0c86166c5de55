"""Where images come from."""

from ganzoo.data.sources.faces import CartoonFaces
from ganzoo.data.sources.folder import FolderDataset
from ganzoo.data.sources.packed import PackedDataset
from ganzoo.data.sources.shards import ParquetShards, TarShards
from ganzoo.data.sources.zip import ZipDataset

__all__ = ["CartoonFaces", "FolderDataset", "PackedDataset", "ParquetShards", "TarShards", "ZipDataset"]
