public import GyreCore
