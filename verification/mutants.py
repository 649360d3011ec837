"""Puts one fault after another into the update and the replay, and checks that a test fails for each.

    python -m verification.mutants

Works on a copy; exit status 1 when a fault goes unnoticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
MUTANTS = [
    (
        "td3",
        "state gradient leak",
        "        with torch.no_grad():\n            return self.critic_encoder(batch.image)",
        "        return actor_features",
    ),
    (
        "td3",
        "critic features with gradient",
        "        with torch.no_grad():\n            return self.critic_encoder(batch.image)",
        "        return self.critic_encoder(batch.image)",
    ),
    (
        "td3",
        "detached action",
        "q = self.policy_value(critic_features, batch.vector, action)",
        "q = self.policy_value(critic_features, batch.vector, action.detach())",
    ),
    (
        "td3",
        "online critic encoder in target",
        "critic_features = self.target_critic_encoder(batch.next_image)",
        "critic_features = self.critic_encoder(batch.next_image)",
    ),
    (
        "td3",
        "critic features to target actor",
        "else self.target_actor_encoder(batch.next_image)",
        "else critic_features",
    ),
    ("td3", "max instead of min", "weight * torch.min(q1, q2)", "weight * torch.max(q1, q2)"),
    (
        "td3",
        "no noise clip",
        ".clamp(\n            -self.config.noise_clip, self.config.noise_clip\n        )",
        "",
    ),
    (
        "td3",
        "encoder not in actor groups",
        "seeing: list[nn.Module] = [] if self.shared else [self.actor_encoder]",
        "seeing: list[nn.Module] = []",
    ),
    ("td3", "wrong tau", "self.config.tau)", "2 * self.config.tau)"),
    ("td3", "no discount", "batch.reward + batch.discount * q", "batch.reward + 0.99 * q"),
    (
        "td3",
        "shared encoder trained by policy",
        "with torch.set_grad_enabled(not self.shared):",
        "with torch.set_grad_enabled(True):",
    ),
    (
        "td3",
        "policy every update",
        "targets = self.updates % self.config.policy_delay == 0",
        "targets = True",
    ),
    (
        "gradients",
        "sum of norms",
        "return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))",
        "return torch.stack(torch._foreach_norm(gradients)).sum()",
    ),
    (
        "gradients",
        "clip does nothing",
        "        torch._foreach_mul_(_gradients(groups), limit / (total + 1e-6))\n",
        "",
    ),
    (
        "replay",
        "terminated bootstraps",
        "np.where(self.terminated[last], np.float32(0.0), discount)",
        "discount",
    ),
    (
        "replay",
        "truncated does not",
        "self.terminated[slot] = terminated\n",
        "self.terminated[slot] = terminated or truncated\n",
    ),
    (
        "replay",
        "stack across episodes",
        "offset = np.minimum(back[None, :], self.age[index][:, None])",
        "offset = np.broadcast_to(back[None, :], (len(index), self.stack))",
    ),
    (
        "replay",
        "seam ignored",
        "return (self.driver[slots] != NOBODY) & whole",
        "return self.driver[slots] != NOBODY",
    ),
    (
        "replay",
        "everything is a demonstration",
        "self.driver[index] == DEMONSTRATOR",
        "self.driver[index] >= AGENT",
    ),
    ("td3", "no Q-filter", "batch.demonstrated & (shown > q)", "batch.demonstrated"),
    ("td3", "imitates itself", "batch.demonstrated & (shown > q)", "shown > q"),
    ("td3", "imitation never ends", "self.config.imitation * max(0.0, left)", "self.config.imitation"),
    (
        "td3",
        "calm by moving away",
        "loss = loss + scale * penalty * change.mean()",
        "loss = loss - scale * penalty * change.mean()",
    ),
    (
        "networks",
        "the actor sees the simulator's state",
        "vector[:, : self.visible]",
        "vector[:, -self.visible :]",
    ),
    (
        "td3",
        "the auxiliary task reads what is not shown",
        "shown = batch.vector[:, self.visible_size : self.visible_size + self.picture_size]",
        "shown = batch.vector[:, self.visible_size + 1 : self.visible_size + self.picture_size + 1]",
    ),
    ("td3", "averaged is not", "        if averaged:", "        if not averaged:"),
]
"""(file, what the fault is, text, what replaces it)"""


def main() -> int:
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        package = "packages/av_td3"
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        environment = os.environ | {"PYTHONPATH": str(copy / package / "src"), "OMP_NUM_THREADS": "1"}
        for file, what, text, fault in MUTANTS:
            path = copy / package / "src" / "av_td3" / "agent" / f"{file}.py"
            sound = path.read_text()
            if text not in sound:
                raise SystemExit(f"{what}: the code has changed, {text!r} is not in {file}.py")
            path.write_text(sound.replace(text, fault, 1))
            done = subprocess.run(
                [*PYTEST, f"{package}/tests/agent"],
                env=environment,
                capture_output=True,
                text=True,
                cwd=copy,
                check=False,
            )
            path.write_text(sound)
            failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
            missed += not failed
            test = failed[0].split("::")[1].split(" ")[0] if failed else "NO TEST FAILED"
            print(f"{what:40s} {test}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
