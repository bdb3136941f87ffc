# SPDX-License-Identifier: Apache-2.0

# gyre_add_library(NAME SOURCES file... [DEPENDENCIES library...])
#
# A Swift library with the settings that Package.swift gives every target, its installation and its
# place in the exported set.
function(gyre_add_library name)
    cmake_parse_arguments(PARSE_ARGV 1 ARG "" "" "SOURCES;DEPENDENCIES")
    add_library(${name} ${ARG_SOURCES})
    add_library(Gyre::${name} ALIAS ${name})
    target_compile_options(${name} PRIVATE
        "SHELL:-package-name gyre"
        "SHELL:-enable-upcoming-feature ExistentialAny"
        "SHELL:-enable-upcoming-feature MemberImportVisibility"
        "SHELL:-enable-upcoming-feature InternalImportsByDefault"
        "SHELL:-enable-upcoming-feature NonisolatedNonsendingByDefault"
        $<$<BOOL:${GYRE_IO_URING}>:-DIOUring>
        $<$<NOT:$<CONFIG:Debug>>:-wmo>)
    target_link_libraries(${name} PUBLIC ${ARG_DEPENDENCIES})
    target_include_directories(${name} PUBLIC
        $<BUILD_INTERFACE:${CMAKE_Swift_MODULE_DIRECTORY}>
        $<INSTALL_INTERFACE:${GYRE_INSTALL_MODULES}>)
    install(TARGETS ${name} EXPORT GyreTargets)
    install(
        FILES ${CMAKE_Swift_MODULE_DIRECTORY}/${name}.swiftmodule
            ${CMAKE_Swift_MODULE_DIRECTORY}/${name}.swiftdoc
        DESTINATION ${GYRE_INSTALL_MODULES})
endfunction()
