import type { NextConfig } from "next";

const API_URL = process.env.CONSTELLATION_API_URL ?? "http://127.0.0.1:8080";

const shared: NextConfig = {
  trailingSlash: true,
  images: { unoptimized: true },
  compiler: { emotion: true },
  reactStrictMode: true,
  turbopack: { root: import.meta.dirname },
};

// The build is a folder of static files that the API serves at `/`. Only the development server
// stands apart from the API, so only it passes requests on.
const config: NextConfig =
  process.env.NODE_ENV === "development"
    ? {
        ...shared,
        rewrites: async () => [
          { source: "/api/:path*", destination: `${API_URL}/api/:path*` },
          { source: "/auth/:path*", destination: `${API_URL}/auth/:path*` },
        ],
      }
    : { ...shared, output: "export" };

export default config;
