"""One step that pyproject.toml cannot say: the measured results go into the wheel, from the folder they lie in."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithResults(build_py):
    """Copy ``results/`` to ``crate_mini/results_data``; an editable install reads the folder itself."""

    def run(self):
        """Build as usual, then copy."""
        super().run()
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "crate_mini", "results_data"), ignore_errors=True)
            for source, target in self._copies().items():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode=True):
        """What was built, for those who list it."""
        return [*super().get_outputs(include_bytecode), *map(str, self._copies().values())]

    def _copies(self):
        results, target = Path("results"), Path(self.build_lib, "crate_mini", "results_data")
        files = [f for f in results.rglob("*") if f.suffix in {".json", ".csv"}]
        return {f: target / f.relative_to(results) for f in files}


setup(cmdclass={"build_py": WithResults})
