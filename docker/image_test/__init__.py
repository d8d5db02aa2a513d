"""Builds the images without a registry and tries them as containers; `make image-test`.

    PYTHONPATH=docker python -m image_test --work FOLDER

As root, with debootstrap, buildah, crun, mosquitto and, for another architecture's image,
qemu-user-static. docs/images.md says what is tried and what came out.
"""
