#!/usr/bin/env python3
"""tools/cuda_report.py: its table says what ptxas said, a spill is found, in the kernel and the card that have it,
and what ptxas says in another way is an error, not a table without spills."""
import contextlib
import importlib.util
import io
import os
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
spec = importlib.util.spec_from_file_location("cuda_report", os.path.join(ROOT, "tools/cuda_report.py"))
report = importlib.util.module_from_spec(spec)
spec.loader.exec_module(report)

KERNEL = """ptxas info    : Compiling entry function '{name}' for '{arch}'
ptxas info    : Function properties for {name}
    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used {registers} registers, used 1 barriers{shared}, 608 bytes cmem[0]
ptxas info    : Compile time = 1754.016 ms
"""
passed, failed = 0, []


def check(ok, what):
    global passed
    if ok:
        passed += 1
    else:
        failed.append(what)
        print(f"FAILED: {what}", file=sys.stderr)


def kernel(name, arch="sm_90a", stack=0, stores=0, loads=0, registers=40, shared=""):
    return KERNEL.format(name=name, arch=arch, stack=stack, stores=stores, loads=loads, registers=registers,
                         shared=shared)


def run(files, *options, not_hot=None):
    """(exit status, table, errors)"""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, text in files.items():
            paths.append(os.path.join(folder, name + ".ptxas"))
            with open(paths[-1], "w", encoding="utf-8") as f:
                f.write("ptxas info    : 0 bytes gmem\n" + text)
        out, err = io.StringIO(), io.StringIO()
        sys.argv, report.NOT_HOT = ["cuda_report.py", *options, *paths], not_hot or {}
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = report.main()
            except report.Broken as e:
                status, _ = 2, err.write(str(e))
        return status, out.getvalue(), err.getvalue()


PLAIN = "_Z12plain_kernelI6__halfLi64ELi4EEv13gpu_attention"
SUM = "_ZN42_INTERNAL_12_sums_cu_ab12_cd10sum_kernelIfEEvPT_"


def main():
    status, table, errors = run({"a": kernel(PLAIN, registers=220, shared=", 1024 bytes smem") + kernel("_Z4fillv", stack=16)})
    check(status == 0 and not errors, "what does not spill passes, with a stack too")
    check("plain_kernel<f16, 64, 4>" in table, "names are written as in the source")
    row = next((line.split() for line in table.split("\n") if "plain_kernel" in line), [])
    check(row[-6:] == ["220", "0", "0", "0", "1024", "a"], f"figures are ptxas's: {row}")
    check("2 kernels, at most 220 registers" in table, "the sum of it")

    for spilled in ({"stores": 8}, {"loads": 4}):
        status, _, errors = run({"a": kernel(PLAIN) + kernel("_Z4fillv", **spilled) + kernel(SUM)})
        check(status == 1 and "fill spills" in errors and "plain" not in errors, f"{spilled} is found")
    status, _, errors = run({"a": kernel("_Z4fillv"), "b": kernel("_Z4fillv", stores=8)})
    check(status == 1, "of two kernels of one name in two files the second is seen too")
    status, _, errors = run({"a": kernel("_Z4fillv", stores=8)}, not_hot={"fill": "said why"})
    check(status == 0, "a kernel that may spill is passed over")
    status, _, errors = run({"a": kernel("_Z8fill_allv", stores=8)}, not_hot={"fill": "said why"})
    check(status == 1, "and no other whose name begins so")

    both = kernel(PLAIN, "sm_75", stores=8) + kernel(PLAIN, "sm_90a")
    check(run({"a": both})[0] == 0, "another card's spill is not this one's")
    check(run({"a": both}, "--arch", "75")[0] == 1, "it is that card's")
    check(run({"a": both}, "--arch", "80")[0] == 2, "a card that nothing was compiled for is an error")

    status, _, errors = run({"a": kernel(PLAIN).replace("spill stores", "spilled stores")})
    check(status == 2 and "its output another" in errors, "words that are not known are an error")
    check(run({"a": ""})[0] == 2, "no kernel at all is an error")
    for own, other in ((8, 0), (0, 8)):
        called = kernel(PLAIN, stores=own).replace(
            "ptxas info    : Used", "ptxas info    : Function properties for _Z6calledf\n"
            f"    0 bytes stack frame, {other} bytes spill stores, 0 bytes spill loads\nptxas info    : Used")
        check(run({"a": called})[0] == 1, "a called function's spill is the kernel's, and hides none")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
