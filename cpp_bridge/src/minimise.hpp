/// Least squares in a few bounded parameters.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>

namespace xec {

template <std::size_t N> using Parameters = std::array<double, N>;
template <std::size_t N> using Matrix = std::array<std::array<double, N>, N>;

/// Half a chi-square near a point: its value, gradient and Gauss-Newton matrix.
template <std::size_t N> struct Quadratic {
    double value = std::numeric_limits<double>::infinity();
    Parameters<N> gradient{};
    Matrix<N> curvature{};
};

template <std::size_t N> struct Box {
    Parameters<N> low;
    Parameters<N> high;
};

/// The best point, and the model there: a Quadratic<N>, or what derives from one.
template <std::size_t N, typename Model> struct Minimum {
    Parameters<N> at{};
    Model model;
    unsigned evaluations = 0;
    bool converged = false;
};

/// Cholesky factors of a positive definite matrix in its lower triangle; false if it is not one.
template <std::size_t N> bool factorise(Matrix<N>& m) noexcept {
    for (std::size_t i = 0; i < N; ++i) {
        for (std::size_t j = 0; j <= i; ++j) {
            double sum = m[i][j];
            for (std::size_t k = 0; k < j; ++k) {
                sum -= m[i][k] * m[j][k];
            }
            if (i == j && !(sum > 0)) {
                return false;
            }
            m[i][j] = i == j ? std::sqrt(sum) : sum / m[j][j];
        }
    }
    return true;
}

/// Solve with the factors of `factorise`.
template <std::size_t N>
Parameters<N> solve(const Matrix<N>& factors, Parameters<N> right) noexcept {
    for (std::size_t i = 0; i < N; ++i) {
        for (std::size_t k = 0; k < i; ++k) {
            right[i] -= factors[i][k] * right[k];
        }
        right[i] /= factors[i][i];
    }
    for (std::size_t i = N; i-- > 0;) {
        for (std::size_t k = i + 1; k < N; ++k) {
            right[i] -= factors[k][i] * right[k];
        }
        right[i] /= factors[i][i];
    }
    return right;
}

/// Inverse of a symmetric matrix; false, and NaN throughout, if it is not positive definite.
template <std::size_t N> bool invert(const Matrix<N>& matrix, Matrix<N>& inverse) noexcept {
    Matrix<N> factors = matrix;
    const bool positive = factorise(factors);
    for (std::size_t i = 0; i < N; ++i) {
        Parameters<N> unit{};
        unit[i] = 1.0;
        inverse[i] = solve(factors, unit);
        if (!positive) {
            inverse[i].fill(std::numeric_limits<double>::quiet_NaN());
        }
    }
    return positive;
}

/// Solve a damped quadratic for its free parameters, the steps of the others being given; nothing
/// if the data do not determine them.
template <std::size_t N>
std::optional<Parameters<N>> free_step(const Quadratic<N>& q, const Parameters<N>& step,
                                       const std::array<bool, N>& fixed, double damping) noexcept {
    Matrix<N> matrix{};
    Parameters<N> right = step;
    for (std::size_t i = 0; i < N; ++i) {
        matrix[i][i] = fixed[i] ? 1.0 : q.curvature[i][i] * (1 + damping);
        right[i] = fixed[i] ? step[i] : -q.gradient[i];
        for (std::size_t j = 0; !fixed[i] && j < N; ++j) {
            right[i] -= fixed[j] ? q.curvature[i][j] * step[j] : 0.0;
            if (i != j && !fixed[j]) {
                matrix[i][j] = q.curvature[i][j];
            }
        }
    }
    if (!factorise(matrix)) {
        return std::nullopt;
    }
    return solve(matrix, right);
}

/// The step to the minimum of a quadratic, damped after Marquardt, that does not leave the box.
///
/// A parameter on a bound that the slope pushes outwards stays there; one whose step would pass
/// a bound stops on it, and the others are solved for again. Nothing if the data do not determine
/// the parameters.
template <std::size_t N>
std::optional<Parameters<N>> bounded_step(const Quadratic<N>& q, const Parameters<N>& at,
                                          const Box<N>& box, double damping) noexcept {
    Parameters<N> step{};
    std::array<bool, N> fixed{};
    for (std::size_t i = 0; i < N; ++i) {
        fixed[i] = (at[i] <= box.low[i] && q.gradient[i] >= 0) ||
                   (at[i] >= box.high[i] && q.gradient[i] <= 0);
    }
    for (std::size_t round = 0; round <= N; ++round) {
        const auto maybe = free_step(q, step, fixed, damping);
        if (!maybe) {
            return std::nullopt;
        }
        const Parameters<N>& solved = *maybe;
        bool inside = true;
        for (std::size_t i = 0; i < N; ++i) {
            const double limited = std::clamp(solved[i], box.low[i] - at[i], box.high[i] - at[i]);
            if (!fixed[i] && limited != solved[i]) {
                fixed[i] = true;
                inside = false;
                step[i] = limited;
            }
        }
        if (inside) {
            return solved;
        }
    }
    return step;
}

/// Levenberg-Marquardt within a box.
///
/// @param evaluate   Parameters<N> -> Quadratic<N>, or what derives from one
/// @param precision  the search ends when no parameter would move by more than this
template <std::size_t N, typename Evaluate>
auto minimise(const Evaluate& evaluate, const Parameters<N>& start, const Box<N>& box,
              const Parameters<N>& precision, unsigned most_evaluations) noexcept {
    using Model = decltype(evaluate(start));
    Minimum<N, Model> best;
    for (std::size_t i = 0; i < N; ++i) {
        best.at[i] = std::clamp(start[i], box.low[i], box.high[i]);
    }
    best.model = evaluate(best.at);
    best.evaluations = 1;
    double damping = 0.0;
    while (true) {
        const auto maybe = bounded_step<N>(best.model, best.at, box, damping);
        if (!maybe) {
            return best;
        }
        const Parameters<N>& step = *maybe;
        bool small = true;
        double slope = 0.0;
        double bend = 0.0;
        Parameters<N> trial_at{};
        for (std::size_t i = 0; i < N; ++i) {
            small = small && std::abs(step[i]) <= precision[i];
            slope += best.model.gradient[i] * step[i];
            for (std::size_t j = 0; j < N; ++j) {
                bend += step[i] * best.model.curvature[i][j] * step[j];
            }
            trial_at[i] = std::clamp(best.at[i] + step[i], box.low[i], box.high[i]);
        }
        if (small) {
            best.converged = std::isfinite(best.model.value);
            return best;
        }
        if (best.evaluations == most_evaluations) {
            return best;
        }
        const Model trial = evaluate(trial_at);
        ++best.evaluations;
        const double gain = (best.model.value - trial.value) / -(slope + bend / 2);
        if (trial.value < best.model.value) {
            best.at = trial_at;
            best.model = trial;
            damping = gain > 0.5 ? damping / 16 : damping;
            damping = damping < 1e-4 ? 0.0 : damping;
        }
        if (!(gain > 0.1)) {
            damping = std::max(4 * damping, 0.01);
        }
    }
}

} // namespace xec
