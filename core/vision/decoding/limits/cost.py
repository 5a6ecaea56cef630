"""How much memory a picture will need to be decoded, by its header. Pure, for the pool's parent."""

from core.settings import MIB
from core.vision.decoding.sniff import SniffedPicture

#: A decoder process with its libraries (35 to 45 MiB) and what no pixel pays for: buffers, tables,
#: the reduced picture, metadata.
PROCESS_BYTES = 64 * MIB


def needed_bytes(header: SniffedPicture, file_bytes: int) -> int | None:
    """Return the most memory that a decoder process needs for this picture.

    Args:
        header: as `sniff.probe` reads it.
        file_bytes: length of the file, which is in memory too.

    Returns:
        Bytes of resident memory of the whole process; None where only decoding tells, for TIFF
        compressed by LZMA or Zstandard.
    """
    if header.held is None:
        return None
    return PROCESS_BYTES + file_bytes + header.width * header.height * header.held
