"""The model repository: signed packages as static files, after The Update Framework (TUF).

`roles`, `contents`, `rotation` and `signing` decide, without IO; `layout`, `keys`, `memory` and
`state` read and verify; `creation`, `intake` and `publication` write; `report` tells how things
stand. Devices read the result with any TUF client. docs/repository.md is the user's guide,
docs/adr/0006-tuf-targets-are-files.md says why it is as it is.
"""
