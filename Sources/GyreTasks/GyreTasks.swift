// SPDX-License-Identifier: Apache-2.0

// Futures and tasks come here.
