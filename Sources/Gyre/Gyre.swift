// SPDX-License-Identifier: Apache-2.0

// The umbrella: one import for the loop, its tasks and its network.

@_exported public import GyreCore
@_exported public import GyreDispatch
@_exported public import GyreNet
@_exported public import GyreTasks
