# SPDX-License-Identifier: BSL-1.0
# Warnings that tether's headers do not keep, and somebody's program does.
target_compile_options(consumer PRIVATE -Wall -Wextra -Wold-style-cast -Wzero-as-null-pointer-constant -Wundef -Wswitch-enum
  -Wpadded -Werror $<$<CXX_COMPILER_ID:GNU>:-Wuseless-cast> $<$<CXX_COMPILER_ID:Clang>:-Wshadow-all>)
