# find_package(xec) defines the target xec::xec.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include(${CMAKE_CURRENT_LIST_DIR}/xecTargets.cmake)
