// SPDX-License-Identifier: Apache-2.0

import Glibc

/// One way to reach a host: what a look-up of a name gives.
public struct LoopAddressInfo: Sendable, Hashable {
    /// The family of the address.
    public let family: Family
    /// The kind of socket it is for.
    public let kind: Kind
    /// The number of the protocol, such as 6 for TCP.
    public let protocolNumber: Int32
    /// The official name of the host, in the first entry when
    /// ``Flags/canonicalName`` asked for it.
    public let canonicalName: String?
    /// The address, with the port.
    public let address: LoopAddress

    /// A family of addresses.
    public struct Family: RawRepresentable, Sendable, Hashable {
        /// The number of the system, `AF_INET` and the like.
        public let rawValue: Int32

        /// The family with the number `rawValue`.
        public init(rawValue: Int32) { self.rawValue = rawValue }

        /// Whatever there is.
        public static let any = Family(rawValue: AF_UNSPEC)
        /// IPv4.
        public static let ipv4 = Family(rawValue: AF_INET)
        /// IPv6.
        public static let ipv6 = Family(rawValue: AF_INET6)
    }

    /// A kind of socket.
    public struct Kind: RawRepresentable, Sendable, Hashable {
        /// The number of the system, `SOCK_STREAM` and the like.
        public let rawValue: Int32

        /// The kind with the number `rawValue`.
        public init(rawValue: Int32) { self.rawValue = rawValue }

        /// Whatever there is.
        public static let any = Kind(rawValue: 0)
        /// Connections.
        public static let stream = Kind(rawValue: Int32(SOCK_STREAM.rawValue))
        /// Datagrams.
        public static let datagram = Kind(rawValue: Int32(SOCK_DGRAM.rawValue))
    }

    /// What a look-up does beside the usual.
    public struct Flags: OptionSet, Sendable, Hashable {
        /// The bits of the system.
        public let rawValue: Int32

        /// The flags with the bits `rawValue`.
        public init(rawValue: Int32) { self.rawValue = rawValue }

        /// For binding: no host means every interface instead of this machine.
        public static let passive = Flags(rawValue: AI_PASSIVE)
        /// Also asks for the official name of the host.
        public static let canonicalName = Flags(rawValue: AI_CANONNAME)
        /// The host is a number: a name is an error, and nobody is asked.
        public static let numericHost = Flags(rawValue: AI_NUMERICHOST)
        /// The service is a port number.
        public static let numericService = Flags(rawValue: AI_NUMERICSERV)
        /// Only families for which this machine has an address.
        public static let configured = Flags(rawValue: AI_ADDRCONFIG)
        /// IPv4 addresses in the form of IPv6, when there are no others.
        public static let mapped = Flags(rawValue: AI_V4MAPPED)
        /// With ``mapped``, both.
        public static let all = Flags(rawValue: AI_ALL)
    }

    /// Which addresses a look-up gives.
    public struct Hints: Sendable, Hashable {
        /// The family, any unless set.
        public var family: Family
        /// The kind of socket.
        ///
        /// With ``Kind/any``, each address comes once for each kind.
        public var kind: Kind
        /// The number of the protocol; 0 for any.
        public var protocolNumber: Int32
        /// What the look-up does beside the usual.
        public var flags: Flags

        /// Hints; without any, everything is given.
        public init(
            family: Family = .any, kind: Kind = .any, protocolNumber: Int32 = 0, flags: Flags = []
        ) {
            self.family = family
            self.kind = kind
            self.protocolNumber = protocolNumber
            self.flags = flags
        }
    }
}

/// The names of an address: what `getNameInfo` gives.
public struct LoopNameInfo: Sendable, Hashable {
    /// The name of the host, or its number where it has none.
    public let host: String
    /// The name of the service, or the number of the port where it has none.
    public let service: String

    /// How the names are given.
    public struct Flags: OptionSet, Sendable, Hashable {
        /// The bits of the system.
        public let rawValue: Int32

        /// The flags with the bits `rawValue`.
        public init(rawValue: Int32) { self.rawValue = rawValue }

        /// The host as a number: nobody is asked.
        public static let numericHost = Flags(rawValue: NI_NUMERICHOST)
        /// The service as a port number.
        public static let numericService = Flags(rawValue: NI_NUMERICSERV)
        /// An address without a name is an error.
        public static let nameRequired = Flags(rawValue: NI_NAMEREQD)
        /// Hosts of this machine's domain without the domain.
        public static let withoutDomain = Flags(rawValue: NI_NOFQDN)
        /// The service of datagrams.
        public static let datagram = Flags(rawValue: NI_DGRAM)
    }
}
