"""Error codes of certificates, enrolment and installation; part of the table in `codes`."""

from __future__ import annotations

from edgeqa.error_code import Code, Where

_C = Where.COMMAND

IDENTITY_CODES: tuple[Code, ...] = (
    Code("certificate_unreadable", _C, "A certificate or key is missing, unreadable or no PEM.",
         "The message names the file; copy the bundle of `edgeqa cloud enrol` again."),
    Code("certificate_key_mismatch", _C, "The key does not belong to the certificate.",
         "Copy both files of the same bundle."),
    Code("certificate_expired", _C, "The certificate has expired.",
         "Issue another with `edgeqa cloud enrol`, and check the machine's clock."),
    Code("certificate_not_yet_valid", _C, "The certificate is not valid yet.",
         "Set the machine's clock.", retry=True),
    Code("certificate_of_another", _C, "The certificate is of another device, or of another role.",
         "Set `device` to the name in the message, or copy the bundle of this device."),
    Code("certificate_refused", _C, "The broker, or this machine, does not trust the other's "
         "certificate.",
         "Check `broker_ca_file`, the port (each role has its own), and whether the device was "
         "revoked.", retry=True),
    Code("not_enrolled", _C, "Nobody of that name is enrolled, or the enrolment was revoked.",
         "`edgeqa cloud enrolled` lists all; `edgeqa cloud enrol` enrols."),
    Code("already_enrolled", _C, "Somebody of that name is enrolled already.",
         "`--again` issues another certificate for the same name."),
    Code("no_authority", _C, "There is no authority in the folder, or its key does not open.",
         "Make one with `edgeqa cloud authority init`; the message says what is wrong."),
    Code("authority_damaged", _C, "An authority's folder is half made, or a file of it is damaged.",
         "Bring the folder back from its copy; a half made one has issued nothing: empty it."),
    Code("authority_expired", _C, "An authority's own certificate has expired.",
         "Make another authority in a new folder, and enrol everybody again."),
    Code("bad_name", _C, "Nobody can be enrolled by that name.",
         "Take 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or a digit."),
    Code("bad_signing_request", _C,
         "A certificate signing request is malformed, weak or not signed.",
         "The message says what is wrong with it."),
    Code("renewal_unanswered", _C, "Nobody answered a device that asked for its next certificate.",
         "Run `edgeqa cloud run` with `authority`, and let it reach the broker.", retry=True),
    Code("renewed_too_often", _C, "A device asked for more certificates than it can need.",
         "See its log; if it is not the device that asks, revoke it."),
    Code("installation_broken", _C,
         "A library of this installation does not load on this machine.",
         "Install the wheels, or the image, that were made for this machine."),
)  # fmt: skip
