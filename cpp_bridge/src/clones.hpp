/// Event loops compiled twice, the wider version chosen by the processor at load time.
///
/// Without contraction (-ffp-contract=off) both give the same bits: they differ in how many
/// channels one instruction takes, not in the arithmetic. Sanitizers start after the choice is
/// made and cannot follow it.
#pragma once

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(XEC_SANITIZED)
#define XEC_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define XEC_CLONES
#endif

/// What loops are to vectorise through must be inlined, however large the compiler finds it.
#ifdef __GNUC__
#define XEC_INLINE __attribute__((always_inline)) inline
#else
#define XEC_INLINE inline
#endif
