"""Send DICOM files with odil, each in its own transfer syntax; run by the Python that Debian's odil is for.

python3 odil_store.py HOST PORT CALLING_AET CALLED_AET FILE...
The program `odil store` proposes Explicit and Implicit VR Little Endian alone, and always exits with 0.
"""

import sys

import odil


def main(host: str, port: str, calling: str, called: str, *files: str) -> None:
    """Open one association and store every file; an exception, and so exit code 1, for any trouble."""
    opened = []
    for file in files:
        with odil.open(file) as stream:
            opened.append(odil.Reader.read_file(stream))
    context = odil.AssociationParameters.PresentationContext
    contexts = [
        context(
            2 * number + 1,
            data_set.as_string("SOPClassUID")[0],
            [meta.as_string("TransferSyntaxUID")[0]],
            context.Role.SCU,
        )
        for number, (meta, data_set) in enumerate(opened)
    ]
    association = odil.Association()
    association.set_peer_host(host)
    association.set_peer_port(int(port))
    association.update_parameters().set_calling_ae_title(calling).set_called_ae_title(
        called
    ).set_presentation_contexts(contexts)
    association.associate()
    store = odil.StoreSCU(association)
    for _, data_set in opened:
        store.set_affected_sop_class(data_set)
        store.store(data_set)
    association.release()


main(*sys.argv[1:])
