"""Machine code for this host from LLVM assembly."""

from __future__ import annotations

from ctypes import CFUNCTYPE, c_int64, c_void_p
from functools import cache
from typing import Any


@cache
def features() -> Any:
    """Features of this host's processor by LLVM's names, e.g. ``avx512f``: a mapping to booleans."""
    import llvmlite.binding as llvm

    return llvm.get_host_cpu_features()


def compiled(assembly: str, name: str, pointers: int, integers: int) -> Any:
    """The function ``name`` of ``assembly``: takes so many addresses, then so many 64-bit integers, and runs without the GIL."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features().flatten(), opt=3, jit=True
    )
    module = llvm.parse_assembly(assembly)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_unrolling = False
    llvm.create_pass_builder(machine, options).getModulePassManager().run(module, llvm.create_pass_builder(machine, options))
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    function = CFUNCTYPE(None, *[c_void_p] * pointers, *[c_int64] * integers)(engine.get_function_address(name))
    function.engine = engine  # the machine code lives as long as its engine
    return function
