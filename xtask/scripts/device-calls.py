"""Counts what a program asks of a wgpu device: launches of kernels, uploads, reads and submissions.

    gdb -q -batch -x xtask/scripts/device-calls.py --args target/debug/mm train glyphs ...

It needs gdb and a program whose symbols are not stripped, on x86-64. A line for each kind of call is
printed at the end, with the bytes of the uploads by their sizes. The program runs many times slower,
so the difference of two short runs is the way to count the work of a step.
"""
import collections
import subprocess

import gdb

counts = collections.Counter()
sizes = collections.Counter()


class Calls(gdb.Breakpoint):
    """Counts the calls of the function at an address and goes on."""

    def __init__(self, address, what, size=None):
        super().__init__(f"*{address:#x}", internal=True)
        self.what, self.size, self.silent = what, size, True

    def stop(self):
        counts[self.what] += 1
        if self.size:
            sizes[int(gdb.newest_frame().read_register(self.size))] += 1
        return False


def functions():
    """Returns the offsets of the functions of the crate `wgpu` in the program by their names."""
    program = gdb.current_progspace().filename
    lines = subprocess.run(["nm", "-C", program], capture_output=True, text=True, check=True).stdout
    found = collections.defaultdict(list)
    for line in lines.splitlines():
        parts = line.split(None, 2)
        if len(parts) == 3 and parts[2].startswith("wgpu::api::"):
            found[parts[2].removeprefix("wgpu::api::")].append(int(parts[0], 16))
    return found


for setting in ("pagination off", "print thread-events off", "print inferior-events off", "debuginfod enabled off"):
    gdb.execute(f"set {setting}")
gdb.execute("handle SIGSTOP SIGPIPE nostop noprint pass")
found = functions()
gdb.execute("starti", to_string=True)
maps = open(f"/proc/{gdb.selected_inferior().pid}/maps").readline()
base = int(maps.split("-")[0], 16)
for name, what, size in [
    ("compute_pass::ComputePass::dispatch_workgroups", "launches", None),
    ("compute_pass::ComputePass::dispatch_workgroups_indirect", "launches", None),
    # `write_buffer(&self, &buffer, offset, data)`: the length of `data` is in the fifth register.
    ("queue::Queue::write_buffer", "uploads", "r8"),
    # `write_buffer_with(&self, &buffer, offset, size)`, for sizes that are no multiple of four.
    ("queue::Queue::write_buffer_with", "uploads of odd sizes", None),
    ("buffer::BufferSlice::map_async", "reads", None),
    ("queue::Queue::submit", "submissions", None),
]:
    for offset in found[name]:
        Calls(base + offset, what, size)
gdb.execute("continue")
for what, count in sorted(counts.items()):
    print(f"{what}: {count}")
print(f"uploaded bytes: {sum(size * count for size, count in sizes.items())}")
for size, count in sorted(sizes.items()):
    print(f"  {count} uploads of {size} bytes")
