"""Snakemake whose polls of the queue are at most a second apart: ``python polling.py <arguments of snakemake>``.

The executor lengthens the time between two polls by ten seconds for every poll without news, which is right on a shared controller.
"""

import asyncio
import importlib
import sys

from snakemake.cli import main

remote = importlib.import_module("snakemake_interface_executor_plugins.executors.remote")


async def sleep(self):
    await asyncio.sleep(min(1.0, self.next_seconds_between_status_checks))


remote.RemoteExecutor.sleep = sleep
sys.argv[0] = "snakemake"
main()
