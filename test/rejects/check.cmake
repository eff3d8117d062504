# SPDX-License-Identifier: BSL-1.0
# Compiles SOURCE as MODE says ("control" or "reject") and judges what the compiler answered. With
# EXPECTED_VERDICT the judgement itself is what is tested: it must contain that text.
#
# WILL_FAIL alone would accept a broken include, and a regular expression over everything the compiler prints
# would accept the comment that it echoes: so the lines that it echoes are taken out, and the file's own path.
#
# What a user sees is counted, with the compiler's own flags: one error, or as many as the file's line
# `// errors: <regular expression>` says (several mistakes, or one that a compiler tells twice), and at most
# LONGEST lines for each, notes and echoed lines too. PRECOMPILED, which is as PRECOMPILE made it, adds one: a compiler
# still says from where each header was included.
set(LONGEST 30)
set(ENV{LC_ALL} C)
set(command ${COMPILER} -std=c++20 -fsyntax-only)
foreach(directory ${INCLUDES})
  list(APPEND command -I${directory})
endforeach()
if(DEFINED PRECOMPILE)
  list(REMOVE_ITEM command -fsyntax-only)
  execute_process(COMMAND ${command} -x c++-header ${PRECOMPILE} -o ${PRECOMPILE}.gch RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${PRECOMPILE} does not compile")
  endif()
  return()
endif()
if(DEFINED PRECOMPILED)
  list(APPEND command -Winvalid-pch -include ${PRECOMPILED})
endif()
if(MODE STREQUAL "control")
  list(APPEND command -DTETHER_CONTROL)
endif()

execute_process(COMMAND ${command} ${SOURCE} RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
string(REGEX REPLACE "[^\n]" "" lines "${said}")
string(LENGTH "${lines}" lines)
string(REPLACE "${SOURCE}" "<source>" without_echo "\n${said}")
string(REGEX REPLACE "\n *[0-9]* \\|[^\n]*" "" without_echo "${without_echo}")
string(REGEX MATCHALL ": (fatal )?error: " errors "${without_echo}")
list(LENGTH errors errors)

file(STRINGS ${SOURCE} expectation LIMIT_COUNT 2 REGEX "^// expects: ")
string(REGEX REPLACE "^// expects: " "" expectation "${expectation}")
file(STRINGS ${SOURCE} expected_errors LIMIT_COUNT 1 REGEX "^// errors: ")
string(REGEX REPLACE "^// errors: " "" expected_errors "${expected_errors}")
if(expected_errors STREQUAL "")
  set(expected_errors 1)
endif()

math(EXPR most_lines "${LONGEST} * ${errors}")

set(verdict OK)
if(MODE STREQUAL "control")
  if(NOT status EQUAL 0)
    set(verdict "the control must compile, and does not")
  endif()
elseif(expectation STREQUAL "")
  set(verdict "the file has no '// expects: <regular expression>' line")
elseif(status EQUAL 0)
  set(verdict "it compiles, and must not")
elseif(NOT without_echo MATCHES "${expectation}")
  set(verdict "it is refused, but not with '${expectation}'")
elseif(NOT errors MATCHES "^${expected_errors}$")
  set(verdict "it is refused with ${errors} errors, where ${expected_errors} is right")
elseif(lines GREATER most_lines)
  set(verdict "it is refused in ${lines} lines, where ${most_lines} are enough")
endif()

if(DEFINED EXPECTED_VERDICT)
  string(FIND "${verdict}" "${EXPECTED_VERDICT}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "the checker said '${verdict}' where '${EXPECTED_VERDICT}' is right")
  endif()
elseif(NOT verdict STREQUAL "OK")
  message("${said}")
  message(FATAL_ERROR "${SOURCE}: ${verdict}")
elseif(MODE STREQUAL "reject")
  message("refused in ${lines} lines, errors: ${errors}")
endif()
