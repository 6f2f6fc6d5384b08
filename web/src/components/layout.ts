import styled from "@emotion/styled";

export const Page = styled.main`
  max-width: 1360px;
  margin: 0 auto;
  padding: 28px 24px 64px;

  @media (max-width: 720px) {
    padding: 20px 14px 48px;
  }
`;

export const Columns = styled.div`
  display: grid;
  grid-template-columns: minmax(0, 1fr) 360px;
  gap: 24px;
  align-items: start;

  @media (max-width: 1080px) {
    grid-template-columns: minmax(0, 1fr);
  }
`;

export const Stack = styled.div<{ gap?: number }>`
  display: flex;
  flex-direction: column;
  gap: ${({ gap = 24 }) => gap}px;
  min-width: 0;
`;

export const Row = styled.div<{ gap?: number }>`
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: ${({ gap = 8 }) => gap}px;
  min-width: 0;
`;

export const Muted = styled.span`
  color: var(--muted);
`;

export const Small = styled.span`
  color: var(--muted);
  font-size: 13px;
`;

export const Mono = styled.span`
  font-family: var(--mono);
  font-size: 0.9em;
  overflow-wrap: anywhere;
`;

export const Hidden = styled.span`
  position: absolute;
  width: 1px;
  height: 1px;
  overflow: hidden;
  clip-path: inset(50%);
  white-space: nowrap;
`;
