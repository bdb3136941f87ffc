// SPDX-License-Identifier: Apache-2.0
//
// The only C of Gyre: what Swift cannot say itself. liburing stays behind an opaque type and is
// included in ring.c alone, because it defines _GNU_SOURCE, which changes the layout of types that
// Swift's Glibc module has already imported without it.

#ifndef CGYRE_H
#define CGYRE_H

#include "CGyreDatagrams.h"
#include "CGyreNullability.h"
#include "CGyrePassing.h"
#include "CGyreProcess.h"
#include "CGyreRing.h"
#include "CGyreSanitizer.h"
#include "CGyreSignals.h"
#include "CGyreSystem.h"
#include "CGyreThread.h"

#endif
