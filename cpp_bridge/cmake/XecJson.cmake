# Sets XEC_JSON_INCLUDE, the folder of nlohmann/json.hpp: that of the PyPI package nlohmann-json (a
# build requirement of the wheel), or the system's (Debian: nlohmann-json3-dev), or the one given.
if(NOT XEC_JSON_INCLUDE)
  # With what pybind11 needs as well: it takes the Python found first.
  find_package(Python COMPONENTS Interpreter OPTIONAL_COMPONENTS Development.Module)
  if(Python_EXECUTABLE)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c
        "import importlib.metadata as m; print(m.distribution('nlohmann-json').locate_file('nlohmann_json/include'))"
      OUTPUT_VARIABLE XEC_JSON_PYTHON OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  find_path(XEC_JSON_INCLUDE nlohmann/json.hpp HINTS ${XEC_JSON_PYTHON})
endif()
if(NOT EXISTS ${XEC_JSON_INCLUDE}/nlohmann/json.hpp)
  message(FATAL_ERROR "nlohmann/json.hpp is not here. Install it with: pip install nlohmann-json, "
    "or: apt install nlohmann-json3-dev, or name its folder with -DXEC_JSON_INCLUDE=DIR.")
endif()
