"""The worker: queue, database and time; the only package that knows both DICOM and the model."""

__version__ = "0.1.0"
