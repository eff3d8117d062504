# SPDX-License-Identifier: BSL-1.0
# Makes the pages below INTO, from ROOT.
if(NOT DOXYGEN)
  message("skipped: doxygen is not installed (Debian: apt-get install doxygen)")
  return()
endif()
file(REMOVE_RECURSE ${INTO}/input ${INTO}/reference)
file(MAKE_DIRECTORY ${INTO}/reference)
execute_process(COMMAND ${PYTHON} -B ${CMAKE_CURRENT_LIST_DIR}/prepare.py ${ROOT} ${INTO}/input COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${DOXYGEN} ${INTO}/Doxyfile COMMAND_ERROR_IS_FATAL ANY)
message("${INTO}/reference/html/index.html")
