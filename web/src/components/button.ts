import styled from "@emotion/styled";

type Look = "primary" | "quiet" | "danger";

const COLORS: Record<Look, [ink: string, ground: string, edge: string]> = {
  primary: ["var(--accent-text)", "var(--accent)", "var(--accent)"],
  quiet: ["var(--text)", "var(--surface)", "var(--line-strong)"],
  danger: ["var(--bad)", "var(--surface)", "var(--line-strong)"],
};

export const Button = styled.button<{ look?: Look }>`
  display: inline-flex;
  align-items: center;
  justify-content: center;
  gap: 8px;
  min-height: 36px;
  padding: 6px 14px;
  border-radius: 8px;
  border: 1px solid ${({ look = "quiet" }) => COLORS[look][2]};
  background: ${({ look = "quiet" }) => COLORS[look][1]};
  color: ${({ look = "quiet" }) => COLORS[look][0]};
  font-weight: 600;
  cursor: pointer;
  transition: filter 120ms;

  &:hover:not(:disabled) {
    filter: brightness(${({ look = "quiet" }) => (look === "primary" ? 1.08 : 0.97)});
  }

  &:focus-visible {
    border-radius: 8px;
  }

  &:disabled {
    opacity: 0.55;
    cursor: default;
  }
`;
