/// Errors a user can act on: what is wrong, where, and how to fix it.
#pragma once

#include <stdexcept>
#include <string>

namespace xec {

/// One sentence, as the Python package writes them: "where: what. How to fix it."
class Error : public std::runtime_error {
  public:
    explicit Error(const std::string& what, const std::string& where = {},
                   const std::string& fix = {})
        : std::runtime_error((where.empty() ? "" : where + ": ") + what +
                             (fix.empty() ? "" : ". " + fix)) {}
};

/// A bundle or ONNX file cannot be used or is not what it says.
class BundleError : public Error {
  public:
    using Error::Error;
};

/// Golden events are not reproduced.
class CheckFailed : public Error {
  public:
    using Error::Error;
};

/// ONNX Runtime is not to be found, too old, or failed.
class EngineError : public Error {
  public:
    using Error::Error;
};

/// An argument makes no sense.
class UsageError : public Error {
  public:
    using Error::Error;
};

} // namespace xec
