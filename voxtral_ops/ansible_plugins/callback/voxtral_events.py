"""What happens in a playbook run as a stream of events: one JSON object a line on stdout.

Whoever draws progress (the command line, a live view of a fleet) reads this and never parses text for people.
"""

from __future__ import annotations

import json
import sys
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: voxtral_events
type: stdout
short_description: one JSON object a line for each event of a run
description:
  - Events are C(play), C(task), C(ok), C(changed), C(skipped), C(failed), C(unreachable) and C(stats).
  - A result carries its message, hint and whatever a module returned under a name that begins with C(voxtral_).
author: voxtral_ops
"""

# What a face may want to show of a result; the rest stays in Ansible.
KEPT = ("msg", "hint", "stderr", "rc")


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "voxtral_events"

    def _emit(self, event, **fields):
        sys.stdout.write(json.dumps({"event": event, "time": time.time(), **fields}, default=str) + "\n")
        sys.stdout.flush()

    def _result(self, event, result, **more):
        clean = {} if getattr(result, "_task", None) is not None and result._task.no_log else result._result
        kept = {key: clean[key] for key in KEPT if clean.get(key) not in (None, "")}
        facts = clean.get("ansible_facts") or {}
        kept.update(
            {key: value for source in (clean, facts) for key, value in source.items() if key.startswith("voxtral_")}
        )
        task = result._task
        role = task._role.get_name() if task._role else None
        self._emit(event, host=result._host.get_name(), task=task.get_name(), role=role, result=kept, **more)

    def v2_playbook_on_play_start(self, play):
        self._emit("play", name=play.get_name())

    def v2_playbook_on_task_start(self, task, is_conditional):
        del is_conditional
        self._emit("task", task=task.get_name(), role=task._role.get_name() if task._role else None)

    def v2_playbook_on_handler_task_start(self, task):
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result):
        self._result("changed" if result._result.get("changed") else "ok", result)

    def v2_runner_on_skipped(self, result):
        self._result("skipped", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._result("failed", result, ignored=bool(ignore_errors))

    def v2_runner_on_unreachable(self, result):
        self._result("unreachable", result)

    def v2_playbook_on_stats(self, stats):
        self._emit("stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})
