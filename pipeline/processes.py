"""datatrove's executor for one machine, on a pool that notices when one of its processes dies.

datatrove's own waits for ever for the result of a task whose process was killed, for example for want of memory.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.utils.stats import PipelineStats

from hala_release.errors import Unfinished


class Processes(LocalPipelineExecutor):
    """Run tasks in processes of this machine; one worker, or one task, in this very process."""

    workers: int

    def run(self) -> PipelineStats:
        """Run the tasks that are not done.

        Raises:
            Unfinished: a process died. What a task raises comes through.
        """
        ranks = self.get_incomplete_ranks()
        self.workers = min(self.workers, len(ranks))
        if self.workers == 1:
            return super().run()
        self.save_executor_as_json()
        stats = PipelineStats()
        with ProcessPoolExecutor(self.workers, mp_context=get_context("forkserver")) as pool:
            tasks = [pool.submit(self._run_for_rank, rank, 1) for rank in ranks]
            try:
                for task in as_completed(tasks):
                    stats += task.result()
            except BrokenProcessPool as error:
                raise Unfinished(
                    "a process of this machine was killed while it ran a task, perhaps because memory ran out",
                    fix="give `executor.workers` fewer workers, and run the same command again",
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        with self.logging_dir.open("stats.json", "wt") as file:
            stats.save_to_disk(file)
        return stats
