"""Xid errors: NVIDIA's numbers for what went wrong, and whose fault each is. Pure."""

from enum import StrEnum

LOST = -1  # not one of NVIDIA's: the device no longer answers at all


class XidClass(StrEnum):
    """Whose fault an Xid is; that decides what follows."""

    DEVICE = "device"  # the hardware's: nothing more is placed on it until a probe is clean
    RUN = "run"  # the program's own: it would happen on every device
    OTHER = "other"  # kept, and nothing is done


# As NVIDIA's catalogue has them. 79 is "fallen off the bus"; NVML's own word for it is LOST.
DEVICE_FAULTS = {
    48: "double-bit memory error",
    63: "a memory page or row is being retired",
    79: "the device has fallen off the bus",
    94: "contained memory error",
    95: "uncontained memory error",
    LOST: "the device does not answer any more: it has fallen off the bus",
}
# The same that NVIDIA's Kubernetes plugin leaves to the application.
RUN_FAULTS = {
    13: "exception in the program's kernels",
    31: "the program touched memory that is not its own",
    43: "the program's channel was reset",
    45: "the program's work was taken off the device",
    68: "video processor exception",
    109: "context switch timed out",
}


def classify(number: int) -> XidClass:
    """Whose fault this is."""
    if number in DEVICE_FAULTS:
        return XidClass.DEVICE
    return XidClass.RUN if number in RUN_FAULTS else XidClass.OTHER


def describe(number: int) -> str:
    """An Xid in words for an operator."""
    if number == LOST:
        return DEVICE_FAULTS[LOST]
    words = DEVICE_FAULTS.get(number) or RUN_FAULTS.get(number) or "not one that is acted upon"
    return f"Xid {number}: {words}"
