"""DICOM in and out: files and sockets; no queue, no database, no neural network."""
