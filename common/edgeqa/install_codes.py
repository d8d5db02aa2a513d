"""Error codes of installing a role as a service; part of the table in `codes`."""

from __future__ import annotations

from edgeqa.error_code import Code, Where

_C = Where.COMMAND

INSTALL_CODES: tuple[Code, ...] = (
    Code("not_root", _C, "Only root may install, upgrade and uninstall.",
         "Put `sudo` before the command."),
    Code("no_systemd", _C, "This machine was not booted with systemd.",
         "Use the container; or install into an image's folder with `--root`."),
    Code("wrong_machine", _C,
         "The processor, the Python or the systemd is not one that EdgeQA runs with.",
         "Use a 64-bit Debian 12 or Raspberry Pi OS (bookworm), or newer."),
    Code("program_unusable", _C, "The service could not run EdgeQA from where it is installed, or "
         "others than root could change it.",
         "Install it as root into /opt/edgeqa, with the system's Python; the message says what is "
         "in the way."),
    Code("bundle_unusable", _C, "A folder is not a whole bundle of `edgeqa cloud enrol`.",
         "Copy the bundle's folder again, with all its files."),
    Code("installed_as_another", _C,
         "This machine is installed as another device than the bundle's.",
         "Copy the bundle of this device, or remove the other: `edgeqa agent uninstall --purge`."),
    Code("service_failed", _C, "The service was installed and did not come up; all was taken back.",
         "The message has its last words; then `journalctl -u edgeqa-agent`."),
    Code("install_failed", _C, "A step of an installation failed; all was taken back.",
         "The message says which step and why."),
    Code("install_under_way", _C, "Another installation is under way here.",
         "Try again when it is done.", retry=True),
    Code("not_installed", _C, "There is no service to upgrade, or it runs from elsewhere.",
         "Install it first; a version in a place of your own is upgraded there."),
    Code("no_way_back", _C, "There is no version before this one.",
         "Install the one that you want: `edgeqa agent upgrade VERSION`."),
    Code("upgrade_failed", _C,
         "Another version could not be installed, or did not come up; the one before runs.",
         "The lines above say why."),
)  # fmt: skip
