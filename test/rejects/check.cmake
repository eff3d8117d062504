# SPDX-License-Identifier: BSL-1.0
# Compiles SOURCE as MODE says ("control" or "reject") and judges what the compiler answered. With
# EXPECTED_VERDICT the judgement itself is what is tested: it must contain that text.
#
# WILL_FAIL alone would accept a broken include, and a regular expression over everything the compiler prints
# would accept the comment that it echoes: so echoing is off, and the file's own path is taken out.
set(ENV{LC_ALL} C)
set(command ${COMPILER} -std=c++20 -fsyntax-only)
if(COMPILER_ID STREQUAL "GNU")
  list(APPEND command -fno-diagnostics-show-caret)
else()
  list(APPEND command -fno-caret-diagnostics)
endif()
foreach(directory ${INCLUDES})
  list(APPEND command -I${directory})
endforeach()
if(MODE STREQUAL "control")
  list(APPEND command -DTETHER_CONTROL)
endif()

execute_process(COMMAND ${command} ${SOURCE} RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
string(REPLACE "${SOURCE}" "<source>" said "${said}")

file(STRINGS ${SOURCE} expectation LIMIT_COUNT 2 REGEX "^// expects: ")
string(REGEX REPLACE "^// expects: " "" expectation "${expectation}")

set(verdict OK)
if(MODE STREQUAL "control")
  if(NOT status EQUAL 0)
    set(verdict "the control must compile, and does not")
  endif()
elseif(expectation STREQUAL "")
  set(verdict "the file has no '// expects: <regular expression>' line")
elseif(status EQUAL 0)
  set(verdict "it compiles, and must not")
elseif(NOT said MATCHES "${expectation}")
  set(verdict "it is refused, but not with '${expectation}'")
endif()

if(DEFINED EXPECTED_VERDICT)
  string(FIND "${verdict}" "${EXPECTED_VERDICT}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "the checker said '${verdict}' where '${EXPECTED_VERDICT}' is right")
  endif()
elseif(NOT verdict STREQUAL "OK")
  message("${said}")
  message(FATAL_ERROR "${SOURCE}: ${verdict}")
endif()
