"""Every coded concept that we write, with its meaning.

Codes come from DICOM (PS3.16 annex D, designator DCM), SNOMED CT (SCT), UCUM, RFC 5646 and, where none of
these has the concept, from our own scheme `99CXRW` (PS3.16 section 8.2: designators that begin with 99 are
private). Own codes keep their value and meaning for ever; a changed meaning gets a new value.
"""

from typing import Final

from pydicom.sr.coding import Code

from dicom_io.acceptance import Reason
from dicom_io.findings import Presence

OWN_SCHEME: Final = "99CXRW"
OWN_SCHEME_NAME: Final = "Local codes of cxr-worker"

# What was judged.
COVID_19: Final = Code("840539006", "SCT", "COVID-19")
PROBABILITY_OF_COVID_19: Final = Code("PROBCOVID", OWN_SCHEME, "Probability of COVID-19")
"""P(COVID-19) whatever the decision: "Certainty of Finding" under "Absent" would read both ways."""
PERCENT: Final = Code("%", "UCUM", "Percent")
LUNG: Final = Code("39607008", "SCT", "Lung")
BILATERAL: Final = Code("51440002", "SCT", "Bilateral")

PRESENCE: Final[dict[Presence, Code]] = {
    Presence.PRESENT: Code("52101004", "SCT", "Present"),
    Presence.ABSENT: Code("272519000", "SCT", "Absent"),
    Presence.UNDETERMINED: Code("373068000", "SCT", "Undetermined"),
}
"""The qualitative evaluation, one code per decision."""

# Why a film was not judged.
QUALITY_ASSESSMENT: Final = Code("111050", "DCM", "Quality Assessment")
REFUSAL: Final[dict[Reason, Code]] = {
    Reason.UNREADABLE: Code("111235", "DCM", "Unusable - Quality renders image unusable"),
    Reason.NO_PIXELS: Code("REFNOPIXELS", OWN_SCHEME, "Not judged: the object holds no picture"),
    Reason.UNSUPPORTED: Code(
        "REFUNSUPPORTED", OWN_SCHEME, "Not judged: not one frame of a kind that is read"
    ),
    Reason.NOT_CHEST: Code("REFNOTCHEST", OWN_SCHEME, "Not judged: not a chest film"),
    Reason.LATERAL: Code("REFLATERAL", OWN_SCHEME, "Not judged: not a frontal view"),
    Reason.CHILD: Code("REFCHILD", OWN_SCHEME, "Not judged: patient younger than the model allows"),
    Reason.NOT_HUMAN: Code("REFNOTHUMAN", OWN_SCHEME, "Not judged: not a human"),
    Reason.OUT_OF_DISTRIBUTION: Code(
        "REFUNLIKE", OWN_SCHEME, "Not judged: unlike the films that the model was trained on"
    ),
    Reason.TOO_SMALL: Code("REFTOOSMALL", OWN_SCHEME, "Not judged: too few pixels"),
    Reason.BLANK: Code("REFBLANK", OWN_SCHEME, "Not judged: a picture without contrast"),
    Reason.POLARITY: Code("REFPOLARITY", OWN_SCHEME, "Not judged: black and white may be swapped"),
    Reason.HEADER_CONTRADICTED: Code(
        "REFCONTRADICTED", OWN_SCHEME, "Not judged: the picture contradicts its header"
    ),
    Reason.OTHER_ALGORITHM: Code("REFALGORITHM", OWN_SCHEME, "Not judged: made by another algorithm"),
}
"""Quality Assessment of a film that was refused; a refusal that is not listed has no report: see below."""
UNREPORTED: Final[frozenset[Reason]] = frozenset(
    {
        # Nothing to refer to, or nothing that may be trusted.
        Reason.NOT_DICOM,
        Reason.INVALID_UID,
        Reason.UID_CONFLICT,
        Reason.IDENTITY_CHANGED,
        # The earlier film's report stands for both.
        Reason.REPEAT,
        # No film: an answer to what we made ourselves would run in circles.
        Reason.OWN_OUTPUT,
        Reason.SOP_CLASS,
    }
)
"""Refusals about which nothing is sent, whatever the settings say."""

# How the report is framed.
IMAGING_MEASUREMENT_REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
ENGLISH: Final = Code("en-US", "RFC5646", "English (United States)")
IMAGING_PROCEDURE: Final = Code("363679005", "SCT", "Imaging procedure")
PLAIN_CHEST_XRAY: Final = Code("399208008", "SCT", "Plain chest X-ray")
QUALITATIVE_EVALUATIONS: Final = Code("C0034375", "UMLS", "Qualitative Evaluations")
COMMENT: Final = Code("121106", "DCM", "Comment")

# The text report (TID 2000, 2002; CID 7000, 7001, 7002). Later editions write these headings in LOINC;
# viewers that need flat text are older than those, and the context group is extensible.
DIAGNOSTIC_IMAGING_REPORT: Final = Code("18748-4", "LN", "Diagnostic Imaging Report")
CONCLUSIONS: Final = Code("121076", "DCM", "Conclusions")
CONCLUSION: Final = Code("121077", "DCM", "Conclusion")
CURRENT_PROCEDURE: Final = Code("121064", "DCM", "Current Procedure Descriptions")
PRIOR_PROCEDURES: Final = Code("121066", "DCM", "Prior Procedure Descriptions")
PROCEDURE_DESCRIPTION: Final = Code("121065", "DCM", "Procedure Description")
SOURCE_OF_MEASUREMENT: Final = Code("121112", "DCM", "Source of Measurement")
ILLUSTRATION_OF_ROI: Final = Code("121200", "DCM", "Illustration of ROI")
KEY_IMAGES: Final = Code("121180", "DCM", "Key Images")

# The image library (TID 1600, 1602, 1603).
IMAGE_LIBRARY: Final = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP: Final = Code("126200", "DCM", "Image Library Group")
SOURCE: Final = Code("260753009", "SCT", "Source")
HEAT_MAP: Final = Code("HEATMAP", OWN_SCHEME, "Heat map of the algorithm")
"""Names the secondary capture in the image library, so that nobody takes it for a source."""
MODALITY: Final = Code("121139", "DCM", "Modality")
MODALITIES: Final[dict[str, Code]] = {
    "CR": Code("CR", "DCM", "Computed Radiography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
}
RADIOGRAPHY: Final = Code("RG", "DCM", "Radiographic imaging")
"""Acquisition modality of a film whose header says neither; CID 29 has no "other"."""
STUDY_DATE: Final = Code("111060", "DCM", "Study Date")
STUDY_TIME: Final = Code("111061", "DCM", "Study Time")
CONTENT_DATE: Final = Code("111018", "DCM", "Content Date")
CONTENT_TIME: Final = Code("111019", "DCM", "Content Time")
ACQUISITION_DATE: Final = Code("126201", "DCM", "Acquisition Date")
ACQUISITION_TIME: Final = Code("126202", "DCM", "Acquisition Time")
PIXEL_DATA_ROWS: Final = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS: Final = Code("110911", "DCM", "Pixel Data Columns")
PATIENT_ORIENTATION_ROW: Final = Code("111044", "DCM", "Patient Orientation Row")
PATIENT_ORIENTATION_COLUMN: Final = Code("111043", "DCM", "Patient Orientation Column")
HORIZONTAL_PIXEL_SPACING: Final = Code("111026", "DCM", "Horizontal Pixel Spacing")
VERTICAL_PIXEL_SPACING: Final = Code("111066", "DCM", "Vertical Pixel Spacing")
PIXELS: Final = Code("{pixels}", "UCUM", "Pixels")
MILLIMETRE: Final = Code("mm", "UCUM", "millimeter")

# The secondary capture.
SOURCE_FOR_PROCESSING: Final = Code("121322", "DCM", "Source image for image processing operation")
