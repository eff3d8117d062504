#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""check.py COMPILER INCLUDE SOURCE: that compiler takes the source; 77 with the reason if it is not here."""
import shutil
import subprocess
import sys

compiler, include, source = sys.argv[1:]
if shutil.which(compiler) is None:
    print(f"skipped: there is no {compiler} here")
    sys.exit(77)
version = subprocess.run([compiler, "-dumpfullversion", "-dumpversion"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0]
ran = subprocess.run([compiler, "-std=c++20", "-fsyntax-only", "-pthread", "-I", include, source],
                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
print(ran.stdout[:4000] or f"taken by {compiler} ({version})")
sys.exit(ran.returncode != 0)
