"""Images: where they come from, bringing them to size, packs, and batches in an order that can be resumed."""

from ganzoo.data.batches import Batches, batches
from ganzoo.data.opening import open_all, open_data, open_dataset
from ganzoo.data.training_data import DataInfo, TrainingData

__all__ = ["Batches", "DataInfo", "TrainingData", "batches", "open_all", "open_data", "open_dataset"]
