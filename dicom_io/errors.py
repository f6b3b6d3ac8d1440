"""The exceptions of this project, in one tree.

::

    CxrError
    ├── PermanentError            trying again gives the same answer
    │   ├── InvalidUID            a UID that is not digits and dots (PS3.5 section 9.1)
    │   ├── NotDicom              bytes that cannot be parsed as a DICOM data set
    │   ├── NoPixelData           a data set without Pixel Data
    │   ├── UnreadablePixels      pixel data that cannot be decoded
    │   ├── UnsupportedImage      decodable, but no single-frame greyscale image
    │   ├── InvalidResult         an object that we built and that failed its own check
    │   ├── DamagedObject         a stored object whose bytes are no longer those of its hash
    │   └── BadTlsFiles           certificates or keys that cannot be used
    └── RetryableError            worth trying again later
        ├── StorageError          the spool or the results folder cannot be written or read
        └── DestinationError      a DICOM peer that refuses or gave no answer
            ├── HoldsAnother      another object lies there under a UID of ours
            ├── Unreachable       no association came about
            │   └── Rejected      the peer was asked for an association and said no
            └── Unanswered        an object was on its way, and no answer came

Messages say what was expected, what came and of which UID; never a patient's name or id.
"""


class CxrError(Exception):
    """Base of every error that this project raises on purpose."""


class PermanentError(CxrError):
    """Trying again would give the same answer."""


class InvalidUID(PermanentError):
    """A UID with anything but digits and dots, or longer than 64 characters (PS3.5 section 9.1)."""


class NotDicom(PermanentError):
    """Bytes that cannot be parsed as a DICOM data set."""


class NoPixelData(PermanentError):
    """A data set that holds no Pixel Data element."""


class UnreadablePixels(PermanentError):
    """Pixel data that no decoder can turn into the image that its header announces."""


class UnsupportedImage(PermanentError):
    """An image that can be decoded, but that is no single-frame greyscale projection."""


class InvalidResult(PermanentError):
    """A result object that we built and that failed its own check; it is not sent."""


class DamagedObject(PermanentError):
    """A stored object whose bytes are no longer those of its hash."""


class BadTlsFiles(PermanentError):
    """Certificates or a key that are missing, unreadable, or do not fit together."""


class RetryableError(CxrError):
    """Worth trying again later."""


class StorageError(RetryableError):
    """The spool or the results folder could not be written or read."""


class DestinationError(RetryableError):
    """A DICOM peer that refuses for now, or gave no answer."""


class HoldsAnother(DestinationError):
    """Under a SOP Instance UID of ours the peer holds an object of another class."""


class Unreachable(DestinationError):
    """No association came about: the peer is away, or does not let us in."""


class Rejected(Unreachable):
    """The peer was asked for an association and said no (PS3.8 section 9.3.4)."""

    def __init__(self, message: str, result: int = 0, source: int = 0, reason: int = 0) -> None:
        """Keep the three numbers of PS3.8 table 9-21 beside the words."""
        super().__init__(message)
        self.result, self.source, self.reason = result, source, reason


class Unanswered(DestinationError):
    """An object was on its way and no answer came: it may be there, or not."""
