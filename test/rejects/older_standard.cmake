# SPDX-License-Identifier: BSL-1.0
# Compiles each public header as C++17: one sentence, in at most LONGEST lines, and not the thousands of errors
# that would follow it.
set(LONGEST 30)
set(ENV{LC_ALL} C)
set(options -std=c++17 -fsyntax-only)
foreach(directory ${INCLUDES})
  list(APPEND options -I${directory})
endforeach()

set(headers "")
foreach(umbrella tether proof testing)
  file(STRINGS ${ROOT}/include/tether/${umbrella}.hpp named REGEX "^#include <tether/.*>$")
  list(TRANSFORM named REPLACE "^#include <(.*)>$" "\\1")
  list(APPEND headers tether/${umbrella}.hpp ${named})
endforeach()
list(REMOVE_DUPLICATES headers)

set(wrong 0)
foreach(header ${headers})
  execute_process(COMMAND ${COMPILER} ${options} -include ${header} -x c++ /dev/null
    RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
  string(REGEX REPLACE "[^\n]" "" lines "${said}")
  string(LENGTH "${lines}" lines)
  string(REGEX MATCHALL "error: " errors "${said}")
  if(status EQUAL 0 OR NOT errors STREQUAL "error: " OR NOT said MATCHES "error: '?tether\\[V1\\]: C\\+\\+20 is needed"
      OR lines GREATER LONGEST)
    message("${header}: not one sentence, but ${lines} lines")
    math(EXPR wrong "${wrong} + 1")
  endif()
endforeach()
list(LENGTH headers all)
if(wrong OR all LESS 50)
  message(FATAL_ERROR "${wrong} of ${all} public headers do not say that C++20 is needed: what includes no other header of tether "
    "includes <tether/version.hpp>, first of all")
endif()
