# Installs the library for find_package(xec).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(XEC_CMAKE_FOLDER ${CMAKE_INSTALL_LIBDIR}/cmake/xec)
install(TARGETS xec EXPORT xecTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp_bridge/include/xec
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(EXPORT xecTargets NAMESPACE xec:: DESTINATION ${XEC_CMAKE_FOLDER})
write_basic_package_version_file(xecConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_SOURCE_DIR}/cpp_bridge/cmake/xecConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/xecConfigVersion.cmake DESTINATION ${XEC_CMAKE_FOLDER})
