"""Roundsman: a keeper that owns the processes and a manager that decides."""
import os
from core import *

BIN = Path(os.environ.get("ROUNDSMAN_BIN", Path(__file__).resolve().parents[3] / "target" / "release"))

class Roundsman(Adapter):
    name, order = "roundsman", 15
    note = "restart = always, restart_sec = 0, no start limit, standard_output = null (log runs: captured, 16 MiB x 120)"
    def missing(self): return None if (BIN / "supervisord").exists() else f"{BIN}/supervisord not built"
    def version(self): return sh([BIN / "supervisord", "--version"]).split()[-1]
    def configure(self, svcs):
        (self.w / "units").mkdir()
        for s in svcs:
            out = "journal" if s.logdir else "null"
            if s.logdir: self.logs = s.logdir.parent
            argv = " ".join(s.argv)
            (self.w / "units" / f"{s.name}.toml").write_text(
                f'[unit]\nstart_limit_burst = 0\n[service]\nexec_start = "{argv}"\nrestart = "always"\nrestart_sec = 0\nstandard_output = "{out}"\n')
        logs = getattr(self, "logs", self.w / "logs")
        (self.w / "roundsman.toml").write_text(
            f'[paths]\nunits = ["units"]\nstate = "{self.d}"\nruntime = "run"\nlogs = "{logs}"\n[log]\nsegment_size = {self.rotate}\nkeep = {self.keep}\n')
        self.env = {"ROUNDSMAN_LOG": "error"}
    def command(self): return [BIN / "supervisord", "--config", self.w / "roundsman.toml"]
    def status_cli(self): return [str(BIN / "supervisorctl"), "--socket", str(self.w / "run/control.sock"), "status"]
    def log_files(self, svc): return sorted((Path(svc.logdir).parent / svc.name).glob("*.log"))
