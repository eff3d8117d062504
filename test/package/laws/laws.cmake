# SPDX-License-Identifier: BSL-1.0
# Installs, builds the project from the installed copy alone, and runs it: right, and wrong on purpose.
include(${CMAKE_CURRENT_LIST_DIR}/../consume/must.cmake)
file(REMOVE_RECURSE ${SCRATCH})
must(${CMAKE_COMMAND} --install ${TETHER_BUILD} --prefix ${SCRATCH}/prefix)
must(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/project -B ${SCRATCH}/build -G Ninja -DCMAKE_CXX_COMPILER=${COMPILER}
  -DCMAKE_PREFIX_PATH=${SCRATCH}/prefix)

# Every suite that is installed is asked.
file(GLOB suites RELATIVE ${SCRATCH}/prefix/include ${SCRATCH}/prefix/include/tether/laws/*.hpp)
file(READ ${CMAKE_CURRENT_LIST_DIR}/project/judged.cpp program)
foreach(suite IN LISTS suites)
  if(NOT program MATCHES "#include <${suite}>")
    message(FATAL_ERROR "the project does not use ${suite}")
  endif()
endforeach()
list(LENGTH suites suites)
if(suites LESS 7)
  message(FATAL_ERROR "only ${suites} suites are installed")
endif()

must(${CMAKE_COMMAND} --build ${SCRATCH}/build -j 1)
must(${SCRATCH}/build/judged)
message("${said}")
if(NOT said MATCHES "figures: hostile balloon, table_iommu")
  message(FATAL_ERROR "the hostile balloon did not run")
endif()
set(ENV{TABLE_IOMMU_UNMAPS_NOTHING} 1)
must_not(${SCRATCH}/build/judged)
if(NOT said MATCHES "law: table_iommu" OR NOT said MATCHES "the hostile balloon finds no stale page")
  message(FATAL_ERROR "an IOMMU that unmaps nothing is not found by both suites: ${said}")
endif()
