// SPDX-License-Identifier: Apache-2.0
//
// gcc, which CMake may choose for the C files, does not know clang's nullability.

#ifndef CGYRE_NULLABILITY_H
#define CGYRE_NULLABILITY_H

#ifndef __clang__
#define _Nonnull
#define _Nullable
#endif

#endif
