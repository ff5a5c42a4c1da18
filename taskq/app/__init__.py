"""The library that most programs use: functions become tasks, and results come back."""

from taskq.app.application import App
from taskq.app.handle import AsyncHandle, Handle
from taskq.app.task import Submission, Task

__all__ = ["App", "AsyncHandle", "Handle", "Submission", "Task"]
