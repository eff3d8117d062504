# SPDX-License-Identifier: BSL-1.0
# tether_doctests(<name> <sources>...): one executable `tether_<name>`, and one ctest for each of its test
# cases. The executable itself writes the list, after it is linked (see test/main.cpp), because only it knows
# the names exactly: sentences with commas, brackets or semicolons do not survive CMake's lists.
set(TETHER_TEST_BATCH 24 CACHE STRING
  "How many test files are one translation unit: many compile all in the least time, 1 a changed one")
add_library(tether_doctest_main OBJECT ${CMAKE_CURRENT_SOURCE_DIR}/main.cpp)
target_link_libraries(tether_doctest_main PRIVATE tether_test_usage)

function(tether_doctests name)
  if(NOT ARGN)
    return()
  endif()
  set(program tether_${name})
  add_executable(${program} ${ARGN} $<TARGET_OBJECTS:tether_doctest_main>)
  target_link_libraries(${program} PRIVATE tether_test_usage)
  # Many files to a translation unit, or the library is read and compiled anew for each: of what eight at a time compile, more than
  # half is compiled in another unit as well. Each file is in a namespace of its own.
  set_target_properties(${program} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${TETHER_TEST_BATCH})

  set(list ${CMAKE_CURRENT_BINARY_DIR}/${program}_cases.cmake)
  add_custom_command(TARGET ${program} POST_BUILD BYPRODUCTS ${list}
    COMMAND ${CMAKE_COMMAND} -E rm -f ${list}
    COMMAND ${program} --list-test-cases --reporters=ctest --out=${list}
            --ctest-program=$<TARGET_FILE:${program}> --ctest-label=${name}
    VERBATIM)
  # Not built means failed, never "no tests".
  set(include_file ${CMAKE_CURRENT_BINARY_DIR}/${program}_include.cmake)
  file(WRITE ${include_file}
    "if(EXISTS \"${list}\")\n  include(\"${list}\")\nelse()\n  add_test(\"${name}: is built\" ${program}_NOT_BUILT)\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${include_file})
endfunction()
